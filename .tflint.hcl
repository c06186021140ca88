# tflint --recursive: all rules of the Terraform language ruleset that tflint contains. No plugin is downloaded.

tflint {
  required_version = ">= 0.50"
}

config {
  call_module_type = "local" # check the calls of the module in examples/
}

plugin "terraform" {
  enabled = true
  preset  = "all" # documented and typed variables, naming, unused declarations, standard files, pinned versions
}
