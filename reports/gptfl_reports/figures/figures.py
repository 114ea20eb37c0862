"""Every figure of a report that is made of a leaderboard: its panels, made once, and its files."""

from dataclasses import dataclass
from typing import Self

from gptfl_reports.figures import (
    communication,
    curves,
    diversity,
    overfitting,
    pareto,
    phases,
    sweeps,
    sweeps_figure,
)
from gptfl_reports.numbers.board import Leaderboard


@dataclass(frozen=True)
class Figures:
    """The panels of all figures; each is empty where there is nothing to draw."""

    curves: tuple[curves.Panel, ...]
    overfitting: tuple[overfitting.Pretraining, ...]
    communication: tuple[communication.CostPanel, ...]
    diversity: tuple[diversity.DiversityPanel, ...]
    pareto: tuple[pareto.ParetoPanel, ...]
    phases: tuple[phases.PhasePanel, ...]
    sweeps: tuple[sweeps.SweepPanel, ...]

    @classmethod
    def of(cls, board: Leaderboard) -> Self:
        """Return the panels of a leaderboard's tasks."""
        return cls(
            curves.panels(board),
            overfitting.pretrainings(board),
            communication.panels(board),
            diversity.panels(board),
            pareto.panels(board),
            phases.panels(board),
            sweeps.panels(board),
        )

    def files(self) -> dict[str, bytes]:
        """Return the files of all figures by name; empty ones for figures without a panel."""
        drawn, trained = self.curves, self.overfitting
        style = curves.styles(drawn)
        return {
            "curves.csv": curves.curves_csv(drawn).encode(),
            "curves.svg": curves.svg(drawn, style).encode() if drawn else b"",
            "curves.png": curves.png(drawn, style) if drawn else b"",
            "overfitting.csv": overfitting.overfitting_csv(trained).encode() if trained else b"",
            "overfitting.svg": overfitting.svg(trained).encode() if trained else b"",
            "overfitting.png": overfitting.png(trained) if trained else b"",
            **communication.FAMILY.files(self.communication),
            **diversity.FAMILY.files(self.diversity),
            **pareto.FAMILY.files(self.pareto),
            **phases.FAMILY.files(self.phases),
            **sweeps_figure.FAMILY.files(self.sweeps),
        }
