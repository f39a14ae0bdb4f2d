"""Ignite handlers: what happens around a training or an evaluation."""

from common.handlers.bad_files import BadFiles
from common.handlers.best_model import BestModel, save_weights
from common.handlers.case_table import CaseTableHandler
from common.handlers.cine_panels import CinePanels, TensorBoardCine
from common.handlers.cine_results import SaveCineResults
from common.handlers.cine_table import CineTable
from common.handlers.dropout_schedule import DropoutSchedule
from common.handlers.early_stopping import EarlyStopping
from common.handlers.epoch_weights import EpochWeights
from common.handlers.kspace_residual import KspaceResidualReport
from common.handlers.panels import PanelHandler, TensorBoardPanelHandler
from common.handlers.phase_weights import PhaseWeights
from common.handlers.progress import Progress
from common.handlers.run_record import RunRecord
from common.handlers.sampled_volumes import SaveSampledVolumes
from common.handlers.save_reconstructions import SaveReconstructions
from common.handlers.super_resolution import SuperResolutionPanels, SuperResolutionTable, TensorBoardSuperResolution
from common.handlers.training_log import TrainingLog
from common.handlers.validation import AdversarialModel, Validation

__all__ = [
    "AdversarialModel",
    "BadFiles",
    "BestModel",
    "CaseTableHandler",
    "CinePanels",
    "CineTable",
    "DropoutSchedule",
    "EarlyStopping",
    "EpochWeights",
    "KspaceResidualReport",
    "PanelHandler",
    "PhaseWeights",
    "Progress",
    "RunRecord",
    "SaveCineResults",
    "SaveReconstructions",
    "SaveSampledVolumes",
    "SuperResolutionPanels",
    "SuperResolutionTable",
    "TensorBoardCine",
    "TensorBoardPanelHandler",
    "TensorBoardSuperResolution",
    "TrainingLog",
    "Validation",
    "save_weights",
]
