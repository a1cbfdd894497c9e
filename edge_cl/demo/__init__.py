"""Three simulated devices teach a real service, which is killed half-way."""
