"""The metrics of the fleet, as Prometheus reads them."""
