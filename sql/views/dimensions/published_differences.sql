-- What is known to be wrong in the published table, or measured by another procedure than here. The rules that mark rows
-- are in docs/published.md, with what they mark wrongly. A figure may have several rows; one without has none that is known.
--
-- Grain: One row per model, dimension and difference.
--
-- source: the published table: hesse2025
-- model: name of the model there
-- dimension: the dimension whose figure differs
-- what: short name of the difference, as in train-mode
-- kind: fault (a wrong number) or protocol (another procedure)
-- certainty: shown (code and figure agree) or likely
-- says: what it is, in a line
-- detail: how large it is, or which of several; empty where that is not known
-- divisor: whether the clean accuracy that the figure is divided by is off too
-- reproduced_in: suites here that do as the study did, with a space between them; empty where none does
-- evidence: where it is seen in the study's released code and its figures
--
-- Source: Hesse et al., arXiv 2503.17110, and its code, github.com/visinf/beyond-accuracy
select
    'hesse2025' as source,
    known.model,
    known.dimension,
    known.what,
    causes.kind,
    known.certainty,
    causes.says,
    known.detail,
    causes.divisor and dimensions.roles like 'clean, %' as divisor,
    known.reproduced_in,
    causes.evidence
from known_differences as known
join difference_causes as causes using (what)
join dimensions using (dimension)
