"""Where the metrics of runs are kept. `tables` is the interface; `lines`, `cells` and `grid` are its pure core."""
