"""Pictures of cases: figures of slices and series, and the folder that they are written to."""

from common.figures.case import case_figure
from common.figures.drawer import CaseDrawer, save_figure
from common.figures.index import PanelIndex
from common.figures.series import series_figure
