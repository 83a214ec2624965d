"""What every room stands on: settings, records, files, stages."""
