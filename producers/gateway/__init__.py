"""The HTTP gateway: any program that knows a base URL gets a durable answer. Every request is a job."""
