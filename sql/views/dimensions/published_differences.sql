-- Figures of the published table that are known to be wrong, or were measured by another procedure than here. The rules
-- that mark them, and the errors of these rules, are in docs/published.md. A figure can have several rows; a figure
-- without rows has no known difference.
--
-- Grain: One row per model, dimension and difference.
--
-- source: the published table: hesse2025
-- model: name of the model there
-- dimension: the dimension whose figure differs
-- what: short name of the difference, as in train-mode
-- kind: fault (a wrong number) or protocol (another procedure)
-- certainty: shown (code and figure agree) or likely
-- says: description in one line
-- detail: its size, or which of several differences it is; empty if unknown
-- divisor: whether it also affects the clean accuracy by which relative figures are divided
-- reproduced_in: suites that follow the study's procedure, separated by spaces; empty if none does
-- evidence: the evidence in the study's released code and its figures
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
