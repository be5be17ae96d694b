from medvol_r1.demo_models.archived_patients import ArchivedPatients

SLICES, SIZE = 4, 32


def test_development_patients_are_shown_as_inference_shows_them(archive):
    (patient,) = ArchivedPatients(archive, SLICES, SIZE, queries_per_volume=2)
    assert patient.slices.shape == (SLICES, SIZE, SIZE)
    assert set(patient.targets) == {"mandible"}
    assert patient.masks.any(dim=(1, 2, 3)).all()
    assert len(ArchivedPatients(None, SLICES, SIZE)) == 0
