"""What leaves the house: what the outbox holds, where it may go, how it is signed and told, when it is tried again."""
