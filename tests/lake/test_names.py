"""Names that a query reads: each where a regular expression over FROM and JOIN was wrong, or might be."""

from __future__ import annotations

import duckdb
import pytest

from qubastore.lake.names import names_in_query, parse
from qubastore.lake.view import View

READS = {
    "select accuracy from accuracy": {"accuracy"},
    "select 1 -- from comments\n from a": {"a"},
    "select 1 /* join comments */ from a": {"a"},
    "select 'taken from texts' from a": {"a"},
    "select $$taken from texts$$ from a": {"a"},
    "from a, b": {"a", "b"},
    "from a, (select 1 from b), lateral (select 1 from c)": {"a", "b", "c"},
    'from "A", "two words"': {"a", "two words"},
    'from "say ""it"""': {'say "it"'},
    "FROM A JOIN B USING (k)": {"a", "b"},
    "from/* at once */a": {"a"},
    "with a as (select 1 from b) from a": {"b"},
    "with A as (select 1 from b) from a": {"b"},
    # A CTE that is called as the view that it reads hides it from what comes after alone.
    "with a as (from a) from a": {"a"},
    "with a as (from b), b as (from a) from b": {"b"},
    "with a as (from b) from c where x in (with c as (from d) from c, a)": {"b", "c", "d"},
    "with recursive a as (select 1 union all from a) from a": set(),
    "pivot a on x in ('p', 'q') using max(y)": {"a"},
    "unpivot a on columns(* exclude (x)) into name n value v": {"a"},
    "select extract(year from day), trim(both from name) from a": {"a"},
    "select x is distinct from y from a": {"a"},
    "select (select max(x) from a), x in (from b), exists (from c) from d": {"a", "b", "c", "d"},
    "from a union all from b except from c": {"a", "b", "c"},
    "describe a": {"a"},
    "from query_table('a')": {"a"},
    "from query_table(['a', 'b'])": {"a", "b"},
    "with a as (from b) from query_table('a')": {"b"},
}
"""Query -> the tables that it reads."""


@pytest.fixture(scope="module")
def connection():
    with duckdb.connect() as made:
        yield made


@pytest.mark.parametrize(("query", "tables"), READS.items(), ids=list(READS))
def test_tables_of_a_query(connection, query, tables):
    assert names_in_query(connection, query).tables == {(name,) for name in tables}


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("from lab.a", ("lab", "a")),
        ("from LAB . a", ("lab", "a")),
        ('from "lab"/* of theirs */."a" as b', ("lab", "a")),
        ("with a as (select 1) from lab.a", ("lab", "a")),
        ("from lab.main.a", ("lab", "main", "a")),
        ("from query_table('lab.a')", ("lab", "a")),
        ("from lab.twice(2)", ("lab", "twice")),
    ],
)
def test_what_stands_before_a_name(connection, query, name):
    assert names_in_query(connection, query).tables == {name}


def test_an_alias_is_not_a_database(connection):
    assert names_in_query(connection, "select lab.x from a as lab").tables == {("a",)}


def test_calls(connection):
    names = names_in_query(connection, "from Ranked(1, pool := 'mine')")
    assert names.tables == frozenset()
    (call,) = names.calls
    assert (call.name, [argument.get("alias", "") for argument in call.arguments]) == ("ranked", ["", "pool"])


@pytest.mark.parametrize(
    ("query", "present", "absent"),
    [
        ("create table mine as from a -- not from b", ("a",), ("b",)),
        ('explain from "A", lab /* x */ . b', ("lab", "b"), ("x",)),
        ("explain from a, lab.main.b", ("lab", "main", "b"), ("main",)),
        ("insert into t select 'ü', x from a", ("a",), ("ü a",)),
        ("from query('from a join lab.b')", ("lab", "b"), ("c",)),
        ("from query_table('a' || 'b')", ("a",), ("ab",)),
        ("select 'never closed", ("select",), ("from",)),
    ],
)
def test_words_without_a_tree(connection, query, present, absent):
    """A statement that is not a SELECT, or computes names: every word that could be one."""
    tables = names_in_query(connection, query).tables
    assert present in tables
    assert absent not in tables


def test_a_view_must_be_a_select(connection):
    with pytest.raises(ValueError, match="the view broken is not a SELECT"):
        View("broken", "", "").reads(parse(connection, ["create table a as select 1"])[0])
