"""Ignite handlers: what happens around a training or an evaluation."""

from common.handlers.best_model import BestModel, save_weights
from common.handlers.case_table import CaseTableHandler
from common.handlers.dropout_schedule import DropoutSchedule
from common.handlers.kspace_residual import KspaceResidualReport
from common.handlers.panels import PanelHandler, TensorBoardPanelHandler
from common.handlers.phase_weights import PhaseWeights
from common.handlers.progress import Progress
from common.handlers.sampled_volumes import SaveSampledVolumes
from common.handlers.save_reconstructions import SaveReconstructions
from common.handlers.super_resolution import (
    SuperResolutionPanels,
    SuperResolutionTable,
    TensorBoardSuperResolution,
)
from common.handlers.training_log import TrainingLog

__all__ = [
    "BestModel",
    "CaseTableHandler",
    "DropoutSchedule",
    "KspaceResidualReport",
    "PanelHandler",
    "PhaseWeights",
    "Progress",
    "SaveReconstructions",
    "SaveSampledVolumes",
    "SuperResolutionPanels",
    "SuperResolutionTable",
    "TensorBoardPanelHandler",
    "TensorBoardSuperResolution",
    "TrainingLog",
    "save_weights",
]
