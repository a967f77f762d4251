"""Tests, in the folders of what they test; what several share is in tests/support."""

import pytest

# Assertions of helpers show both values when they fail, as those of tests do.
pytest.register_assert_rewrite("tests.support", "tests.datasets.vtab_checks", "tests.report.browser")
