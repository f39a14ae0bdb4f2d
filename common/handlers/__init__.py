"""Ignite handlers: what happens around a training or an evaluation."""

from common.handlers.best_model import BestModel, save_weights
from common.handlers.case_table import CaseTableHandler
from common.handlers.panels import PanelHandler, TensorBoardPanelHandler
from common.handlers.progress import Progress
from common.handlers.save_reconstructions import SaveReconstructions
from common.handlers.training_log import TrainingLog

__all__ = [
    "BestModel",
    "CaseTableHandler",
    "PanelHandler",
    "Progress",
    "SaveReconstructions",
    "TensorBoardPanelHandler",
    "TrainingLog",
    "save_weights",
]
