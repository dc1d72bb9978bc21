"""What stands between the network and the routers: authentication, problems, limits, streaming, negotiation."""
