"""The sidecar: starts, stops and switches the model servers of one machine, and passes requests on to them."""
