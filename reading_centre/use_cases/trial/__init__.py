"""The folder of a trial: creation, people, locks, audit trail and backup."""
