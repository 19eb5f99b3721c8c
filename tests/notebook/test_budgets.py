"""Budgets and money as people meet them in a kernel: settings, options, the card, and what has been used."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from faults.answers import good
from faults.gateway import FaultGateway, fault_gateway
from support.gateways import Served
from support.kernels import Kernel, kernel

THREE = "%%embed x\none\ntwo\nthree\n"


@pytest.fixture
def paid() -> Iterator[FaultGateway]:
    """A gateway whose vectors are not the stand-in's."""
    with fault_gateway(good) as server:
        yield server


@pytest.fixture
def paying(paid: FaultGateway, token: str) -> Iterator[Kernel]:
    """A kernel that talks to `paid`."""
    environ = {**os.environ, "VN_MAGIC_BASE_URL": paid.base_url, "VECTORNODE_API_KEY": token}
    with kernel(environ=environ) as started:
        assert started.run("%load_ext vn_magic").status == "ok"
        yield started


def test_a_session_s_budget_is_a_setting_and_what_it_refuses_is_told_in_two_lines(
    paying: Kernel, paid: FaultGateway
) -> None:
    paying.run("%config VnMagic.max_requests = 2")
    refused = paying.run(THREE)
    assert (refused.status, refused.stderr) == ("error", "")
    assert refused.error[0] == ("BudgetError: The session's budget of 2 requests does not allow 3. Nothing was sent.")
    assert refused.error[1].startswith("Next: send less, or raise the budget: ")
    assert len(refused.error) == 2
    assert paid.received == []
    settings = paying.run("%vn status").stdout.splitlines()
    assert ["max_requests", "2", "%config"] in [line.split() for line in settings]
    paying.run("%config VnMagic.max_requests = None")
    assert "3 new" in paying.run(THREE).card


def test_a_budget_in_the_configuration_file_holds_from_the_first_cell_on(tmp_path: Path) -> None:
    profile = tmp_path / "ipython" / "profile_default"
    profile.mkdir(parents=True)
    (profile / "ipython_config.py").write_text(
        "c = get_config()\nc.VnMagic.max_requests = 0\nc.VnMagic.max_tokens = 100\nc.VnMagic.price_per_million = 2\n"
    )
    with kernel(environ={**os.environ, "VN_MAGIC_OFFLINE": "1"}) as fresh:
        fresh.run("%load_ext vn_magic")
        assert "budget of 0 requests does not allow 3" in fresh.run(THREE).error[0]
        settings = [line.split() for line in fresh.run("%vn status").stdout.splitlines()]
        assert ["max_tokens", "100", "ipython_config.py"] in settings
        assert ["price_per_million", "2.0", "ipython_config.py"] in settings


@pytest.mark.parametrize(
    ("name", "value"),
    [("max_requests", "-1"), ("max_tokens", "0.5"), ("price_per_million", "0"), ("price_per_million", "'much'")],
)
def test_an_impossible_value_is_told_and_the_older_one_stays(shared_kernel: Kernel, name: str, value: str) -> None:
    told = shared_kernel.run(f"%config VnMagic.{name} = {value}")
    assert name in told.stderr + "\n".join(told.error)
    status = [row.split() for row in shared_kernel.run("%vn status").stdout.splitlines()]
    assert [name, "None", "default"] in status


@pytest.mark.parametrize(
    ("cell", "told"),
    [
        (
            "%%embed --no-cache --max-requests 2 x\none\ntwo\nthree\n",
            "The job's budget of 2 requests does not allow 3.",
        ),
        ("x = %embed --no-cache --max-requests=0 ['one']", "The job's budget of 0 requests does not allow 1."),
        ("x = %embed ['a long text'] --no-cache --max-tokens 2", "The job's budget of 2 tokens does not allow ≈3."),
        ("%%embed --max-requests many x\none", "invalid int value: 'many'"),
        ("%%embed --max-tokens many x\none", "invalid int value: 'many'"),
        ("%%embed x --max-tokens\none", "expected one argument"),
        ("%%embed --max-requests -1 x\none", "max_requests is -1, expected a whole number from 0 on"),
        ("%embed --max-token 5 ['one']", "there is no option --max-token"),
    ],
)
def test_a_job_s_own_budget_is_an_option_on_its_line(shared_kernel: Kernel, cell: str, told: str) -> None:
    reply = shared_kernel.run(cell)
    assert told in reply.error[0]
    assert len(reply.error) <= 2
    assert reply.stderr == ""


def test_a_job_s_refusal_names_its_option(shared_kernel: Kernel) -> None:
    reply = shared_kernel.run("%%embed --no-cache --max-requests 0 x\none")
    assert reply.error[1] == "Next: send less, or raise the budget: `--max-requests N`, in Python `max_requests=N`."


def test_options_that_suffice_change_nothing(shared_kernel: Kernel) -> None:
    reply = shared_kernel.run("%%embed --no-cache --max-requests 3 --max-tokens 3 x\none\ntwo\nfour\n")
    assert "3 new" in reply.card


def test_with_a_price_card_dry_run_usage_and_status_show_money(paying: Kernel) -> None:
    paying.run("%config VnMagic.price_per_million = 0.15")
    money = "≈3 tokens · ≈0.00000045 at 0.15 a million tokens"
    cell = "%%embed x\none\ntwo\nfour\n"
    assert f"3 requests would be sent · {money}" in paying.run(cell.replace("x", "x --dry-run", 1)).card
    assert f"3 new, 0 from cache · {money}" in paying.run(cell).card
    assert "million" not in paying.run(cell).card
    used = f"3 requests, 0 retries · 3 rows new, 3 from cache, 0 from packs · {money}"
    assert used in paying.run("%vn usage").card.splitlines()
    assert f"session: {used}" in paying.run("%vn status").stdout.splitlines()


def test_the_stand_in_shows_what_a_gateway_would_cost(fresh_kernel: Kernel) -> None:
    fresh_kernel.run("%vn offline\n%config VnMagic.price_per_million = 0.15")
    money = "would be ≈0.00000015 at 0.15 a million tokens"
    assert money in fresh_kernel.run("%%embed x --dry-run\none").card
    assert money in fresh_kernel.run("%%embed x\none").card
    assert money in fresh_kernel.run("%vn usage").card


def test_usage_tells_for_each_budget_what_is_used_the_most_and_what_is_left(fresh_kernel: Kernel) -> None:
    fresh_kernel.run("%vn offline")
    assert fresh_kernel.run("%vn usage").card.splitlines() == [
        "usage of this session",
        "0 requests, 0 retries · 0 rows new, 0 from cache, 0 from packs · 0 tokens",
        "no budget is set; `%config VnMagic.max_requests = 100` would set one, and max_tokens another",
    ]
    fresh_kernel.run("%config VnMagic.max_requests = 1000")
    fresh_kernel.run("%%embed x\none\ntwo\none\n")
    assert fresh_kernel.run("%vn usage").card.splitlines()[1:] == [
        "2 requests, 0 retries · 2 rows new, 0 from cache, 0 from packs · ≈2 tokens",
        "max_requests: 2 of 1,000 used, 998 left",
    ]
    fresh_kernel.run("%config VnMagic.max_requests = 1\n%config VnMagic.max_tokens = 5")
    assert fresh_kernel.run("%vn usage").card.splitlines()[2:] == [
        "max_requests: 2 of 1 used, 0 left",
        "max_tokens: ≈2 of 5 used, ≈3 left",
    ]
    assert fresh_kernel.run("%%embed x\none\ntwo\n").status == "ok"  # the cache has them
    assert "%vn usage takes nothing after it" in fresh_kernel.run("%vn usage now").error[0]


def test_what_a_session_has_used_outlives_a_reload_of_the_extension(fresh_kernel: Kernel) -> None:
    fresh_kernel.run("%vn offline\n%config VnMagic.max_requests = 2")
    fresh_kernel.run("%%embed x\none\ntwo\n")
    fresh_kernel.run("%reload_ext vn_magic")
    assert "max_requests: 2 of 2 used, 0 left" in fresh_kernel.run("%vn usage").card
    assert "(2 used) does not allow 1 more" in fresh_kernel.run("%%embed x\nthree").error[0]


def test_a_dry_run_says_which_budget_would_refuse_the_cell(shared_kernel: Kernel) -> None:
    reply = shared_kernel.run("%%embed x --dry-run --no-cache --max-requests 2\none\ntwo\nthree\n")
    assert reply.card.splitlines()[-1] == "the job's budget of 2 requests would refuse this"


def test_rows_of_a_pack_are_told_by_the_card_the_dry_run_and_usage(
    fresh_kernel: Kernel, gateway: Served, tmp_path: Path
) -> None:
    fresh_kernel.run("%vn offline")
    fresh_kernel.run(THREE)
    fresh_kernel.run(f"%vn pack save {tmp_path}/lesson.vnpack\n%vn cache clear")
    fresh_kernel.run(f"%vn pack use {tmp_path}/lesson.vnpack")
    fresh_kernel.run("%config VnMagic.max_requests = 4")
    cell = THREE + "four\n"
    assert "0 from cache · 3 from pack · 0 duplicates · 1 request would be sent" in (
        fresh_kernel.run(cell.replace("x", "x --dry-run", 1)).card
    )
    assert "1 new, 0 from cache, 3 from pack · ≈1 token · 1 request, 0 retries" in fresh_kernel.run(cell).card
    assert "4 rows new, 0 from cache, 3 from packs" in fresh_kernel.run("%vn usage").card
    fresh_kernel.run(f"%vn pack use {tmp_path}/lesson.vnpack --strict")
    dry = fresh_kernel.run("%%embed x --dry-run\none\nfour\nfive\n").card.splitlines()
    assert dry[1:] == [
        "0 from cache · 1 from pack · 0 duplicates",
        "2 texts are not in the pack lesson.vnpack, which alone answers: they would fail",
    ]
    assert gateway.received == []
