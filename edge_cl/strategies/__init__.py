"""Every continual-learning system, one file a paper, in one explicit table."""

from __future__ import annotations

import importlib
import inspect
from dataclasses import asdict
from importlib.util import find_spec
from typing import Any

from edge_cl.errors import UnknownStrategy
from edge_cl.strategy import Strategy

_TABLE = {
    "naive": "naive:Naive",
    "joint": "joint:Joint",
    "cumulative": "cumulative:Cumulative",
    "ensemble": "ensemble:Ensemble",
    "replay": "replay:Replay",
    "latent_replay": "latent_replay:LatentReplay",
    "exstream": "exstream:ExStream",
    "gdumb": "gdumb:GDumb",
    "mir": "mir:MIR",
    "lwf": "lwf:LwF",
    "ewc": "ewc:EWC",
    "si": "si:SI",
    "multihead": "multihead:Multihead",
    "progressive": "progressive:Progressive",
    "cwr": "cwr:CWR",
    "gem": "gem:GEM",
    "icarl": "icarl:ICaRL",
    "progress_compress": "progress_compress:ProgressCompress",
    "ar1": "ar1:AR1",
    "ar1_conv": "ar1_conv:AR1Conv",
    "ncm": "ncm:NCM",
    "slda": "slda:SLDA",
    "ranpac": "ranpac:RanPAC",
    "slda_replay": "slda_replay:SLDAReplay",
    "remind": "remind:Remind",
    "derpp": "derpp:DERPP",
    "generative_replay": "generative_replay:GenerativeReplay",
    "generative_negative_replay": "generative_negative_replay:GenerativeNegativeReplay",
    "packnet": "packnet:PackNet",
    "piggyback": "piggyback:Piggyback",
    "supsup": "supsup:SupSup",
    "hat": "hat:HAT",
    "hypernetwork": "hypernetwork:Hypernetwork",
}


def names() -> list[str]:
    """Every strategy, by the name used in options and URLs."""
    return list(_TABLE)


def find(name: str) -> type[Strategy]:
    """The class of the strategy `name`.

    Raises
    ------
    UnknownStrategy
        Listing the names that exist.
    MissingExtra
        If its module needs a package that is not installed.
    """
    if name not in _TABLE:
        raise UnknownStrategy(f"no strategy is named {name!r}; there are: {', '.join(_TABLE)}")
    module, _, attribute = _TABLE[name].partition(":")
    found: type[Strategy] = getattr(
        importlib.import_module(f"edge_cl.strategies.{module}"), attribute
    )
    return found


def installed(name: str) -> bool:
    """Whether the packages that the strategy `name` needs are there."""
    return not find(name).needs.torch or all(map(find_spec, ("torch", "onnx")))


def describe(name: str) -> dict[str, Any]:
    """What a user needs to choose a strategy: summary, paper, needs, option schema."""
    strategy = find(name)
    return {
        "name": name,
        "summary": (inspect.getdoc(strategy) or "").split("\n\n")[0].replace("\n", " "),
        "paper": strategy.paper,
        "needs": asdict(strategy.needs),
        "corrections": {
            "forgetting": strategy.forgetting,
            "denials": strategy.learns_denials,
        },
        "options": strategy.options_type.model_json_schema(),
    }
