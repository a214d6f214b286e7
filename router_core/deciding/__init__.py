"""What to do next with a job: pure functions of the job, its attempts and the state of the fleet."""
