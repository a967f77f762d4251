"""qubastore: run each image classifier once, keep what it said, and ask every question of what was kept.

    >>> import qubastore
    >>> store = qubastore.open("store")  # doctest: +SKIP
    >>> store.sql("select model, accuracy from accuracy").pl()  # doctest: +SKIP
    >>> store.rank(weights={"calibration": 2})  # doctest: +SKIP

`qubastore.evaluators.ingest` runs models; it is a module of its own because it imports torch and Ray.
"""

from qubastore.errors import QubastoreError
from qubastore.store import Store, init
from qubastore.store import open_store as open

__version__ = "0.1.0"

__all__ = ["QubastoreError", "Store", "__version__", "init", "open"]
