"""The loop that runs by itself: it watches, decides, retrains, promotes and rolls back; the log is its only memory."""
