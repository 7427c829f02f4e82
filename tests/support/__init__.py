"""What tests share: events, processes, desks, servers and the slow book."""
