"""The seven stages, a file each. A stage knows neither Kafka nor globals."""
