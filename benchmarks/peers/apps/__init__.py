"""The peers' own small services, each in production's settings; they run with the packages of PEERS_HOME."""
