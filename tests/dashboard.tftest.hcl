# The dashboard. tests/unit/test_dashboard.py checks its content.

mock_provider "aws" {
  source          = "./tests/tf-fixtures/aws"
  override_during = plan
}

variables {
  source_bucket = "source"
  target        = { endpoint = "https://s3.example.com", region = "us-east-1", bucket = "mirror" }
}

run "no_dashboard_by_default_but_its_body" {
  command = plan

  assert {
    condition     = length(aws_cloudwatch_dashboard.sync) == 0
    error_message = "A dashboard costs money, so it must be off by default."
  }

  assert {
    condition     = contains([for widget in jsondecode(output.dashboard_body).widgets : widget.type], "metric")
    error_message = "The output must have the content without a dashboard."
  }
}

run "dashboard" {
  command = plan

  variables {
    name      = "reports"
    dashboard = true
  }

  assert {
    condition     = aws_cloudwatch_dashboard.sync[0].dashboard_name == "reports" && aws_cloudwatch_dashboard.sync[0].dashboard_body == output.dashboard_body
    error_message = "The dashboard must have the name of the module and the content of the output."
  }

  assert {
    condition     = length([for widget in jsondecode(output.dashboard_body).widgets : widget if startswith(try(widget.properties.title, ""), "Service")]) == 0
    error_message = "Without the service, nothing of it must be shown."
  }
}

run "no_graph_of_a_metric_that_is_off" {
  command = plan

  variables {
    metrics     = false
    max_lag_s   = null
    max_retry_s = null
    function    = { enabled = false }
    service     = { enabled = true }
    ecs         = { subnet_ids = ["subnet-1"], security_group_ids = ["sg-1"], cluster = { arn = "arn:aws:ecs:eu-west-1:123456789012:cluster/shared" } }
  }

  assert {
    condition     = !strcontains(output.dashboard_body, "S3Syncer/") && !strcontains(output.dashboard_body, "AWS/Lambda")
    error_message = "Without metrics from the log and without the function, only SQS and ECS have metrics."
  }

  assert {
    condition     = [for widget in jsondecode(output.dashboard_body).widgets : widget.width if widget.type == "metric"] == [12, 12, 12, 12, 12, 12]
    error_message = "The graphs that are left in a row must fill it."
  }

  assert {
    condition     = alltrue([for widget in jsondecode(output.dashboard_body).widgets : strcontains(widget.properties.query, "SOURCE '/aws/ecs/s3-syncer-service'\n| filter") if widget.type == "log"])
    error_message = "The tables must read the log of the service."
  }

  assert {
    condition     = strcontains(output.dashboard_body, "\"ClusterName\",\"shared\",\"ServiceName\",\"s3-syncer-service\"")
    error_message = "The graphs of the service must name its cluster."
  }
}
