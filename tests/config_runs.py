"""A training config with its overlays, ready to run."""

from pathlib import Path

from monai.bundle import ConfigWorkflow

BUNDLE = Path(__file__).resolve().parents[1] / "bundle"


def training_workflow(stack, folder, **settings):
    """The workflow of config files, initialised; it writes into `folder`."""
    workflow = ConfigWorkflow(
        [str(file) for file in stack],
        workflow_type="train",
        logging_file=False,
        bundle_root=str(BUNDLE),
        output_dir=str(folder),
        **settings,
    )
    workflow.initialize()
    return workflow
