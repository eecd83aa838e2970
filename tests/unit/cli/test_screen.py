# SPDX-License-Identifier: Apache-2.0
"""Recorded events in, what a pipe gets out: tests/data/events/<case>.jsonl and <case>.txt."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from provisioner.ansible.module_utils.provision.host.payload import Payload, Transfer
from provisioner.cli import screen
from provisioner.cli.screen.live import LiveScreen, LiveTable, export_svg
from provisioner.cli.screen.plain import PlainScreen
from provisioner.cli.screen.report import show_report
from provisioner.cli.screen.text import duration, middle, size, transfer
from provisioner.runs import events
from provisioner.runs.fold import Fold, fold

DATA = Path(__file__).resolve().parents[2] / "data" / "events"
CASES = sorted(path.stem for path in DATA.glob("*.jsonl"))
PHASES = ("Preflight", "Host", "Models", "Serve", "Verify")
CONTROL = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]")
START = 1_760_000_000.0


def recorded(case: str) -> list[events.Event]:
    return list(events.read(DATA / f"{case}.jsonl"))


def pipe(width: int = 80) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, width=width, color_system=None, legacy_windows=False), file


def terminal(width: int = 80, height: int = 24, **options: object) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    known = {"color_system": "truecolor", "_environ": {"TERM": "xterm-256color"}, **options}
    return Console(file=file, width=width, height=height, force_terminal=True, **known), file  # type: ignore[arg-type]


def downloading(hosts: int = 3) -> Fold:
    names = [f"host{number:02d}" for number in range(hosts)]
    folding = Fold(names, PHASES)
    told: list[events.Event] = [events.PhaseStart(START, "Preflight", tuple(names))]
    refused = "ssh: connect to host 192.0.2.7 port 22: Connection refused"
    told.append(events.Result(START, names[0], "Preflight", "Probe", "unreachable", msg=refused))
    told.append(events.Result(START, names[1], "Preflight", "Probe", "ok"))
    told.append(events.PhaseStart(START + 1, "Models", tuple(names)))
    told.append(events.TaskStart(START + 2, names[1], "Models", "Fetch the model"))
    weights = Payload(progress=Transfer("model.safetensors", 1.2e9, 2.7e9, 1.1e8))
    told.append(events.Progress(START + 3, names[1], "Models", "Fetch the model", provision=weights))
    for event in told:
        folding.add(event)
    return folding


def drawn(folding: Fold, width: int, height: int = 24) -> list[str]:
    console, file = pipe(width)
    console.size = console.size.__class__(width, height)
    console.print(LiveTable(folding, lambda: START + 12))
    return file.getvalue().splitlines()


@pytest.mark.parametrize("case", CASES)
def test_a_pipe_gets_the_expected_lines(case: str) -> None:
    console, file = pipe()
    shown = PlainScreen(console, Fold(), diff=True, ladder=True)
    with shown:
        for event in recorded(case):
            shown.event(event)
    shown.finish(fold(recorded(case), log="/runs/1/ansible.log"))
    assert file.getvalue() == (DATA / f"{case}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("width", [120, 80, 40])
def test_nothing_of_a_hostile_host_controls_the_terminal(width: int) -> None:
    console, file = pipe(width)
    folding = Fold()
    for kind in (PlainScreen(console, Fold()), LiveScreen(console, folding)):
        with kind as shown:
            for event in recorded("hostile"):
                shown.event(event)
        shown.finish(fold(recorded("hostile")))
    assert "[bold red]not markup[/]" in file.getvalue()
    assert CONTROL.findall(file.getvalue()) == []


def test_progress_is_a_line_every_ten_seconds_a_host() -> None:
    console, file = pipe()
    shown = PlainScreen(console, Fold())
    for second in range(0, 31, 2):
        for host in ("alpha", "beta"):
            shown.event(events.Progress(START + second, host, "Models", "Fetch", second + 1, 99))
    assert file.getvalue().splitlines() == [
        f"{host}: Fetch: try {attempt} of 99" for attempt in (1, 11, 21, 31) for host in ("alpha", "beta")
    ]


def test_a_diff_is_shown_when_asked_for() -> None:
    result = events.Result(
        START, "alpha", "Host", "Write", "changed", diff="--- a\n+++ b\n-[old]\n+\x1b[2Jnew\n"
    )
    for diff, lines in ((True, ["    --- a", "    +++ b", "    -[old]", "    +\\x1b[2Jnew"]), (False, [])):
        console, file = pipe()
        PlainScreen(console, Fold(), diff=diff).event(result)
        assert file.getvalue().splitlines() == ["changed alpha: Write", *lines]


SCRIPT = ["--- before", "+++ after: /work/serve.py", "@@ -0,0 +1,121 @@", "+#!/usr/bin/env python3"]


@pytest.mark.parametrize(
    ("lines", "shown", "left"),
    [
        ([*SCRIPT, *["+x"] * 117], 15, 106),
        (["--- before", "+++ after: x.service", *["+x"] * 100], 102, 0),
        (["--- before", "+++ after: lock.txt", *["+x"] * 400], 15, 387),
        ([*SCRIPT, *["+x"] * 10], 14, 0),
    ],
)
def test_a_diff_shows_the_beginning_of_a_long_script_and_all_files(
    lines: list[str], shown: int, left: int
) -> None:
    after = ["--- before: b.env", "+++ after: b.env", "-A=1", "+A=2"]
    diff = "".join(f"{line}\n" for line in [*lines, *after])
    console, file = pipe()
    PlainScreen(console, Fold(), diff=True).event(
        events.Result(START, "a", "Host", "W", "changed", diff=diff)
    )
    printed = [line.strip() for line in file.getvalue().splitlines()][1:]
    more = [f"… {left} more lines; events.jsonl in the folder of this run has them"] * bool(left)
    assert printed == [*lines[:shown], *more, *after]


def test_a_check_counts_what_services_share_once() -> None:
    """The same difference is one change of a host, whichever task shows it; others are changes each."""

    def result(task: str, diff: str, host: str = "a", **more: Any) -> events.Result:
        return events.Result(START, host, "Serve", task, "changed", diff=diff, **more)

    seen = [
        result("Install the archive", "+/opt/x\n"),
        result("Set up", "+one\n"),
        result("Install the archive", "+/opt/x\n"),
        result("Set up", "+two\n"),
        result("Install packages", "+/opt/x\n"),
        result("Restart", ""),
        result("Restart", ""),
        result("Install the archive", "+/opt/x\n", host="b"),
    ]
    for check, changes, printed in ((True, 6, 6), (False, 8, 8)):
        console, file = pipe()
        folded = Fold(phases=PHASES)
        screen_of = PlainScreen(console, folded)
        for event in (events.RunStart(START, check=check), *seen):
            screen_of.event(event)
        report = folded.report()
        assert report.changed == changes
        assert sum(cell.changed for host in report.hosts for cell in host.cells) == changes
        assert file.getvalue().count("changed ") == printed


def test_a_long_line_is_not_broken_for_a_pipe() -> None:
    console, file = pipe(40)
    PlainScreen(console, Fold()).event(events.Result(START, "alpha", "Host", "x " * 60, "changed"))
    assert len(file.getvalue().splitlines()) == 1


@pytest.mark.parametrize("width", [120, 100, 80, 60, 40])
def test_the_live_table_fits_and_tells_the_essentials(width: int) -> None:
    lines = drawn(downloading(), width)
    assert max(len(line) for line in lines) <= width
    assert "44% 110 MB/s" in lines[2]
    assert "nothing listens" in lines[1]
    assert ("Preflight" in lines[0]) == (width >= 100)
    assert ("10 s" in lines[2]) == (width >= 60)
    assert lines[-1] == "Models · 3 hosts · 1 stopped · 12 s"


def test_the_time_left_is_told_even_on_a_narrow_terminal() -> None:
    assert "44% 110 MB/s 14 s left" in drawn(downloading(), 40)[2]


@pytest.mark.parametrize("height", [10, 24])
def test_many_hosts_never_outgrow_the_terminal(height: int) -> None:
    lines = drawn(downloading(50), 80, height)
    assert len(lines) < height
    assert lines[1].startswith("host00")
    assert lines[2].startswith("host01")
    assert re.fullmatch(r"and \d+ waiting", lines[-2])


def test_finished_hosts_make_room_first() -> None:
    names = tuple(f"host{number:02d}" for number in range(12))
    folding = Fold(names, ("Host",))
    folding.add(events.PhaseStart(START, "Host", names))
    for name in names[:9]:
        folding.add(events.Result(START, name, "Host", "Install", "ok"))
    folding.add(events.TaskStart(START, names[11], "Host", "Install"))
    lines = drawn(folding, 80, 10)
    assert [line[:6] for line in lines[1:5]] == ["host00", "host09", "host10", "host11"]
    assert lines[5] == "and 8 finished"


def test_names_that_differ_at_their_ends_stay_apart() -> None:
    assert middle("inference-node-rack-1", 9) == "infe…ck-1"
    assert middle("short", 9) == "short"


def test_a_terminal_gets_the_table_then_the_report() -> None:
    console, file = terminal()
    folding = Fold(("alpha", "beta", "gamma"), PHASES)
    shown = screen.make(console, folding)
    assert isinstance(shown, LiveScreen)
    with shown:
        for event in recorded("one_down"):
            shown.event(event)
    shown.finish(folding.report())
    assert "\x1b[?25l" in file.getvalue()
    assert file.getvalue().count("\x1b[?25h") == 1
    assert "failed: 3 hosts, 6 changed, 1 stopped" in file.getvalue()


def test_the_terminal_is_given_back_after_an_interrupt() -> None:
    console, file = terminal()
    shown = screen.make(console, Fold())
    with pytest.raises(KeyboardInterrupt), shown:
        raise KeyboardInterrupt
    assert "\x1b[?25h" in file.getvalue()


@pytest.mark.parametrize(
    ("environment", "diff"),
    [({"TERM": "dumb"}, False), ({"TERM": "xterm"}, True), ({"TERM": "unknown"}, False)],
)
def test_plain_lines_where_a_table_does_not_suit(environment: dict[str, str], *, diff: bool) -> None:
    console, _ = terminal(_environ=environment)
    assert isinstance(screen.make(console, Fold(), diff=diff), PlainScreen)
    assert isinstance(screen.make(pipe()[0], Fold()), PlainScreen)


def test_no_color_is_respected() -> None:
    console, file = terminal(_environ={"NO_COLOR": "1", "TERM": "xterm-256color"})
    show_report(fold(recorded("unhealthy")), console, ladder=True)
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", file.getvalue())
    assert "✗ token" in re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue())


def test_marks_are_ascii_where_the_terminal_is() -> None:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding="ascii", errors="strict", write_through=True)
    console = Console(file=file, width=80)
    shown = PlainScreen(console, Fold(), ladder=True)
    with shown:
        for event in recorded("unhealthy"):
            shown.event(event)
    shown.finish(fold(recorded("unhealthy")))
    assert b"x token" in raw.getvalue()


def test_only_the_rungs_that_failed_are_shown_unless_all_are_asked_for() -> None:
    for ladder, count in ((True, 8), (False, 1)):
        console, file = pipe()
        show_report(fold(recorded("unhealthy")), console, ladder=ladder)
        assert len(re.findall(r"^  [✓✗-] ", file.getvalue(), re.MULTILINE)) == count


def test_a_report_of_many_hosts_shows_those_that_matter() -> None:
    names = [f"host{number:02d}" for number in range(40)]
    told = [events.Result(START, name, "Host", "Install", "ok") for name in names[1:]]
    failed = events.Result(START, names[0], "Host", "Install", "failed", msg="no")
    console, file = pipe()
    show_report(fold([failed, *told, events.RunEnd(START)], phases=("Host",)), console)
    assert "39 hosts more: ok, nothing changed" in file.getvalue()
    assert "host01" not in file.getvalue()


def test_check_mode_does_not_claim_a_change() -> None:
    told = [events.RunStart(START, check=True), *recorded("one_down")[1:]]
    console, file = pipe()
    show_report(fold(told), console)
    assert "6 would change" in file.getvalue()


def test_the_picture_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "live.svg"
    told = recorded("one_down")
    export_svg(told[:16], path, hosts=("alpha", "beta", "gamma"), phases=PHASES)
    text = path.read_text(encoding="utf-8")
    assert "provision&#160;apply" in text or "provision apply" in text
    assert "url(http" not in text
    first = text
    export_svg(told[:16], path, hosts=("alpha", "beta", "gamma"), phases=PHASES)
    assert path.read_text(encoding="utf-8") == first


@pytest.mark.parametrize(
    ("number", "shown"),
    [(0, "0 B"), (999, "999 B"), (1000, "1 kB"), (2.69e8, "269 MB"), (2.7e9, "2.7 GB"), (5e15, "5e+03 TB")],
)
def test_sizes(number: float, shown: str) -> None:
    assert size(number) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(-1, "0.0 s"), (0.42, "0.4 s"), (12.4, "12 s"), (185, "3:05"), (3723, "1:02:03")]
)
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        (Transfer(), ""),
        (Transfer("weights"), "weights"),
        (Transfer("", 5e6, None, 1e6), "5 MB, 1 MB/s"),
        (Transfer("", 5e6, 1e7), "50%, 5 MB of 10 MB"),
        (Transfer("w", 2e7, 1e7, 1e6), "100% 1 MB/s 0.0 s left, 20 MB of 10 MB, w"),
    ],
)
def test_transfers(told: Transfer, shown: str) -> None:
    assert transfer(told) == shown


def test_the_live_table_says_why_a_host_is_left_out() -> None:
    folding = Fold(["alpha"], PHASES)
    for event in recorded("left_out"):
        folding.add(event)
    assert any(
        line.startswith("alpha") and "no archive of this engine" in line for line in drawn(folding, 120)
    )
