"""Packaging; all metadata stands in pyproject.toml.

The network files live once, in configs/. In a wheel they become detectron2/model_zoo/configs, where model_zoo finds
them when there is no repository around it.
"""

from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).parent
CONFIGS_IN_PACKAGE = Path("detectron2") / "model_zoo" / "configs"


class BuildWithConfigs(build_py):
    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        for source in sorted((ROOT / "configs").rglob("*.yaml")):
            target = Path(self.build_lib) / CONFIGS_IN_PACKAGE / source.relative_to(ROOT / "configs")
            self.mkpath(str(target.parent))
            self.copy_file(str(source), str(target))


setup(
    packages=find_packages(include=["active_learning", "active_learning.*", "detectron2", "detectron2.*"]),
    package_data={
        "active_learning": ["py.typed", "config/*.yaml", "report/*.jinja", "report/*.css"],
        "detectron2.config": ["defaults.yaml"],
    },
    include_package_data=False,  # package_data says all; otherwise setuptools warns of folders that hold no code
    py_modules=["maskAL", "auto_annotate", "export_onnx"],
    cmdclass={"build_py": BuildWithConfigs},
)
