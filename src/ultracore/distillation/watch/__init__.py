"""Stage 6: live agreement with bounds, drift, metrics and alerts, all from the log; see `watcher.Watcher`."""
