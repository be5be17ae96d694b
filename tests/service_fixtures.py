"""Fixtures of the tests of the service and of what serves it."""

import sys

import pytest
from service_runs import small_service, write_study


@pytest.fixture(scope="package")
def service_folder(tmp_path_factory):
    """Holds `studies` with a phantom, and the weights of small models."""
    folder = tmp_path_factory.mktemp("service")
    (folder / "studies").mkdir()
    return folder


@pytest.fixture(scope="package")
def phantom(service_folder):
    """The phantom of `studies/ct.nii.gz`."""
    return write_study(service_folder / "studies" / "ct.nii.gz")


@pytest.fixture(scope="package")
def service(service_folder, phantom):
    """One service for all tests: each opens studies of its own."""
    path = [*sys.path]
    service = small_service(service_folder, service_folder / "studies")
    yield service
    service.shut_down()
    sys.path[:] = path


@pytest.fixture
def study(service, request):
    """A study of an owner named as the test."""
    study = service.open(request.node.name, "ct.nii.gz")
    yield study
    if study in service.studies(study.owner):
        service.close(study.owner, study.id)
