"""Running networks: in tiles, from file to file, with several draws of their noise."""

from common.inferers.files import FileInferer, prepare_file
from common.inferers.sampling import SamplingInferer
from common.inferers.streaming import StreamingInferer
from common.inferers.tile_network import TileNetwork
from common.inferers.tiled import TiledInferer
from common.inferers.tiles import Tile, TilePlan
