"""One module a stage; `rejection_rules` refuse traces; `runner` calls the stages."""
