"""The GAN trainer, its objectives, phases, moving average and checkpoints."""

from common.engines.checkpoint import TrainingCheckpoint, load_weights
from common.engines.ema import exponential_average
from common.engines.gan_trainer import GanTrainer
from common.engines.muon import Muon
from common.engines.objective import Objective
from common.engines.phases import Phase, PhaseSchedule
