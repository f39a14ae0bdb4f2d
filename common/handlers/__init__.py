"""Ignite handlers: what happens around a training or an evaluation."""

from common.handlers.bad_files import BadFiles
from common.handlers.best_model import BestModel, save_weights
from common.handlers.case_table import CaseTableHandler
from common.handlers.panels import PanelHandler, TensorBoardPanelHandler
from common.handlers.phase_weights import PhaseWeights
from common.handlers.progress import Progress
from common.handlers.run_record import RunRecord
from common.handlers.save_reconstructions import SaveReconstructions
from common.handlers.super_resolution import SuperResolutionPanels, SuperResolutionTable, TensorBoardSuperResolution
from common.handlers.training_log import TrainingLog
from common.handlers.validation import Validation
