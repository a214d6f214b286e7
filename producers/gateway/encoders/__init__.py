"""Pure encoders: from the result and the events of a job to the bodies and events of an API."""
