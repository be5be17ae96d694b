import pytest
from medvol_r1.service.progress import STAGES, Cancelled, Progress


def test_stages_follow_each_other():
    progress = Progress()
    assert (progress.stage, progress.written, progress.slices) == (None, "", (0, 0))
    progress.begin("writing")
    progress.write("<think>")
    progress.write("<think>The")
    progress.begin("propagating", 6)
    progress.propagate(1)
    progress.propagate(2)
    assert (progress.stage, progress.written, progress.slices) == ("propagating", "<think>The", (3, 6))
    assert progress.stage in STAGES


def test_what_nobody_wants_stops_wherever_it_is():
    progress = Progress()
    progress.check()
    progress.cancel()
    assert progress.is_cancelled
    for step in (progress.check, lambda: progress.begin("writing"), lambda: progress.write("a"),
                 lambda: progress.propagate(1)):  # fmt: skip
        with pytest.raises(Cancelled):
            step()
    assert (progress.stage, progress.written, progress.slices) == (None, "", (0, 0))
