"""``diffnas report``."""

from diffnas.cli import main

CONV = "|nor_conv_3x3~0|+|nor_conv_3x3~0|nor_conv_3x3~1|+|skip_connect~0|nor_conv_3x3~1|nor_conv_3x3~2|"
EPOCHS = [(CONV, [[0.2] * 5] * 6)]


def test_a_report_lands_in_its_run_folder_and_its_place_is_printed(write_search, capsys):
    runs = [str(write_search(EPOCHS, name=name)) for name in ("a", "b")]
    assert main(["report", *runs]) == 0
    assert capsys.readouterr().out.splitlines() == [f"{run}/report.html" for run in runs]


def test_a_report_goes_where_it_is_sent(write_search, tmp_path, capsys):
    out = tmp_path / "deep" / "page.html"
    assert main(["report", str(write_search(EPOCHS)), "--out", str(out)]) == 0
    assert capsys.readouterr().out.strip() == str(out)
    assert out.read_text().startswith("<!DOCTYPE html>")


def test_two_reports_do_not_fit_into_one_file(write_search, tmp_path, capsys):
    runs = [str(write_search(EPOCHS, name=name)) for name in ("a", "b")]
    assert main(["report", *runs, "--out", str(tmp_path / "page.html")]) == 2
    assert "Give one run at a time" in capsys.readouterr().err


def test_a_folder_without_a_run_gets_a_one_line_error(tmp_path, capsys):
    assert main(["report", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert told == f"error: {tmp_path} is not a run folder: it has no run.json.\n"
