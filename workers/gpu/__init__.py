"""The graphics cards of a pool: the models that they hold, and the engines that load them."""
