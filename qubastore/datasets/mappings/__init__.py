"""Mappings from the classes of other label spaces to ImageNet's 1,000 classes, by index.

`16-categories.json`: the entry-level categories of Geirhos et al., "ImageNet-trained CNNs are biased towards texture",
arXiv 1811.12231, as in model-vs-human. `in9.json`: the backgrounds challenge of Xiao et al., "Noise or signal: the role
of image backgrounds in object recognition", arXiv 2006.09994, in the order of its labels.
"""
