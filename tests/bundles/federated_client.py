"""One client of a federation, for a test: two rounds from the same global weights, then what came of them."""

import json
import sys
from pathlib import Path

bundle, options = sys.argv[1], json.loads(sys.argv[2])
sys.path.insert(0, bundle)

from monai.fl.client import MonaiAlgo  # noqa: E402
from monai.fl.utils.constants import ExtraItems  # noqa: E402
from monai.fl.utils.exchange_object import ExchangeObject  # noqa: E402
from monai.networks.utils import get_state_dict  # noqa: E402

import common  # noqa: E402

client = MonaiAlgo(bundle, local_epochs=1, train_kwargs=dict(options), eval_kwargs=dict(options))
client.initialize({ExtraItems.CLIENT_NAME: "site"})
weights = {name: value.numpy().copy() for name, value in get_state_dict(client.trainer.network).items()}
rounds = []
for _ in range(2):
    client.train(ExchangeObject(weights=weights))
    change = client.get_weights().weights
    metrics = client.evaluate(ExchangeObject(weights=weights)).metrics
    rounds.append({"moved": sum(bool((value != 0).any()) for value in change.values()), "metrics": metrics})
found = {"epochs": client.trainer.state.epoch, "n_weights": len(weights), "rounds": rounds}
Path("found.json").write_text(json.dumps({**found, "common": common.__file__}), encoding="utf-8")
client.finalize()
