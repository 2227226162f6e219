"""Presets of instruments, those of Cockpit (Schneider, Dangel and Hennig 2021)."""

ECONOMY = (
    *("Alpha", "Distance", "GradHist1d", "GradNorm", "InnerTest"),
    *("Loss", "NormTest", "OrthoTest", "UpdateSize"),
)
BUSINESS = (*ECONOMY, "TICDiag", "HessTrace")
FULL = (*BUSINESS, "HessMaxEV", "GradHist2d")
ALL = (
    *FULL,
    *("HessMaxAbsEV", "Parameters", "Time", "CABS", "EarlyStopping", "TICTrace", "MeanGSNR"),
)

PRESETS = {"economy": ECONOMY, "business": BUSINESS, "full": FULL, "all": ALL}
