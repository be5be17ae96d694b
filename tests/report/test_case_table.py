from medvol_r1.report.case_table import case_table


def row(case, query, **changes):
    files = {"mask.nii.gz": f"/out/{case}/{case}_mask.nii.gz", "evidence.json": f"/out/{case}/{case}_evidence.json"}
    plain = {"case": case, "query": query, "status_text": "found", "volume_ml": 1234.56, "scores": {}, "files": files}
    return plain | changes


def test_columns_stand_below_each_other_and_failures_come_last():
    scored = row("ct_2", "the liver", scores={"DSC": 0.5, "IoU": 1 / 3}, volume_ml=0.0)
    failure = {"case": "bad", "reason": "not_nifti", "message": "bad.nii is no NIfTI file"}
    assert case_table([row("ct", "the spleen"), scored], [failure], "out") == (
        "\n"
        "case  query       status             volume/ml    DSC    IoU\n"
        "ct    the spleen  found                 1234.6      -      -\n"
        "ct_2  the liver   found                    0.0  0.500  0.333\n"
        "bad               FAILED: not_nifti          -      -      -\n"
        "  bad: bad.nii is no NIfTI file\n"
        "written to out/<case>: mask.nii.gz, evidence.json"
    )


def test_a_query_is_one_short_line_without_what_a_terminal_obeys():
    (line,) = case_table([row("ct", "a\n\x1b[31m\u202e" + "x" * 60)], [], "out").splitlines()[2:3]
    assert line.startswith("ct    a  [31m " + "x" * 29 + "...  found")


def test_nothing_but_failures():
    failure = {"case": "bad", "reason": "not_nifti", "message": "bad.nii is no NIfTI file"}
    assert case_table([], [failure], "out").endswith("\nnothing written to out")
