import pytest
from medvol_r1.command_line.options import parse


@pytest.mark.parametrize(
    "arguments, images, query",
    [
        (["--", "--output_dir", "out"], ["--output_dir"], "out"),
        (["ct.nii", "--output_dir", "out", "the liver"], ["ct.nii"], "the liver"),
        (["--output_dir", "out", "ct.nii", "the liver"], ["ct.nii"], "the liver"),
        (["a.nii", "b.nii", "c", "the liver", "--output_dir", "out"], ["a.nii", "b.nii", "c"], "the liver"),
        (["ct.nii", "--output_dir", "out", "--", "--queries"], ["ct.nii"], "--queries"),
        (["--output_dir", "out", "--config_file", "a.json", "b.json", "--", "ct.nii", "-q"], ["ct.nii"], "-q"),
        (["--output_dir", "out", "--", "ct.nii", "--"], ["ct.nii"], "--"),
        (["a.nii", "b.nii", "--output_dir", "out", "--queries", "q.txt"], ["a.nii", "b.nii"], None),
        (["--datalist", "cases.json", "--output_dir", "out"], [], None),
        (["ct.nii", "", "--output_dir", "out"], ["ct.nii"], ""),
    ],
)
def test_the_last_text_is_the_query_wherever_the_options_stand(arguments, images, query):
    options = parse(arguments)
    assert (options.images, options.query) == (images, query)
    assert options.output_dir == ("out" if "--" != arguments[0] else "output")


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "give an image and a query"),
        (["ct.nii"], "give an image and a query, several images and --queries FILE, or --datalist FILE"),
        (["--queries", "q.txt"], "--queries asks about images"),
        (["ct.nii", "--datalist", "cases.json"], "--datalist names images and queries; give no others"),
        (["--queries", "q.txt", "--datalist", "cases.json"], "give no others"),
        (["ct.nii", "liver", "--verbose"], "unrecognized arguments: --verbose"),
    ],
)
def test_what_does_not_fit_together_is_said(arguments, message, capsys):
    with pytest.raises(SystemExit) as ended:
        parse(arguments)
    assert ended.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize("name", ["b.nii.gz", "b.PNG", "b.dcm"])
def test_a_forgotten_query_is_not_the_last_image(tmp_path, capsys, name):
    (tmp_path / name).touch()
    with pytest.raises(SystemExit):
        parse(["a.nii.gz", str(tmp_path / name)])
    assert f"{name} is a file; add a query" in capsys.readouterr().err


def test_the_exit_statuses_and_serve_stand_in_the_help(capsys):
    with pytest.raises(SystemExit) as ended:
        parse(["--help"])
    told = capsys.readouterr().out
    assert ended.value.code == 0 and "medvol-r1 serve --help" in told
    assert "  3  some cases could not be processed; the others are written" in told
