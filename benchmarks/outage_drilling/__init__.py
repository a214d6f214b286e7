"""The parts of an outage drill: its plan, the processes it kills, who is asked and told, and a judge of it all."""
