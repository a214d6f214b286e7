"""The post office: what the outbox holds is posted, several at a time, and tried again until it is delivered.

class Terms: discord, webhook (URLs of the operator), secret, at_most, on_recovery, rules (which addresses webhooks may have)
class PostOffice(link, terms, chance): `await round()` about every second; `await close()` at the end.
"""
