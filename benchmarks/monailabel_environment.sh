#!/bin/bash
# A virtual environment with this bundle, its tests and MONAI Label, whose own pins (numpy below 2, pydicom below 3) the
# bundle cannot keep; then the tests that need it:
#
#     bash benchmarks/monailabel_environment.sh [FOLDER, default .venv-monailabel]
#     .venv-monailabel/bin/python -m pytest -m monailabel
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-.venv-monailabel}
python3 -m venv "$folder"
install() { "$folder/bin/python" -m pip install -q --disable-pip-version-check "$@"; }
install -c constraints.txt -e . pytest hypothesis
# What MONAI Label imports at run time, in versions that go with numpy 2.
install -c constraints.txt uvicorn fastapi pydantic pydantic-settings python-dotenv python-multipart httpx schedule timeloop \
    expiringdict expiring_dict cachetools watchdog passlib pyjwt bcrypt shapely requests requests-toolbelt scikit-learn \
    google-auth itk girder-client pynrrd SimpleITK einops parameterized
install pydicom==2.4.4 pynetdicom==2.0.2 dicomweb-client==0.59.3
install --no-deps monailabel==0.8.5 pydicom-seg==0.4.1 torchvision==0.28.0
