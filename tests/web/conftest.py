from service_fixtures import phantom, service, service_folder, study  # noqa: F401
