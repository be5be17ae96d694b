"""The blocks of bundle/docs/http_api.md, run by a shell against a real server."""

import re
import shutil
import subprocess
from pathlib import Path

import nibabel as nib
import pytest
from medvol_r1.web.calls import calls
from medvol_r1.web.failures import STATUS
from service_runs import AFFINE
from web_clients import running

PAGE = (Path(__file__).resolve().parents[2] / "bundle" / "docs" / "http_api.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```sh\n(.*?)^```$", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(shutil.which("curl") is None, reason="the page's commands need curl")
def test_the_commands_of_the_page_run_in_their_order(service, service_folder, tmp_path):
    shutil.copy(service_folder / "studies" / "ct.nii.gz", tmp_path)
    with running(service) as url:
        script = "\n".join(["set -euo pipefail", *BLOCKS]).replace("http://127.0.0.1:8000", url)
        ran = subprocess.run(["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
    assert ran.stdout.count('"state": "done"') >= 2, "the question and the correction"
    assert (nib.load(tmp_path / "liver.nii.gz").affine == AFFINE).all()
    for name in ("slice.png", "mask.png", "liver.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert '"query": "the organ that makes bile"' in (tmp_path / "liver.json").read_text(encoding="utf-8")


def test_the_page_shows_every_call():
    shell = "\n".join(BLOCKS)
    for route in calls.routes:
        last = [part for part in route.path.split("/") if "{" not in part][-1]
        assert last in PAGE and (last in shell or last in ("session", "export", "correction")), route.path


def test_the_page_names_every_status():
    told = {int(status) for status in re.findall(r"^\| (\d{3}) \|", PAGE, flags=re.MULTILINE)}
    assert told == {*STATUS.values(), 422}
