"""Workers that train one network together."""
