# A root-key command that hangs: the statement that waits for it ends at once when it is cancelled, times out or is
# terminated, the command ends with it, and the server shuts down without waiting.

use strict;
use warnings FATAL => 'all';

use PgEncrypt::Session;
use PgEncrypt::Test;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

# Below the ten seconds after which the command is given up, and far above what it takes on a busy machine.
my $at_once = 9;

my $node    = new_node('command', root_key => 0, extension => 0);
my $base    = $node->basedir;
my $program = "$base/print-key";
my $read    = 'select encrypt.decrypt_column(value) from t';

write_root_key($node);
append_to_file($program, <<"SCRIPT");
#!/bin/sh
echo \$\$ >$base/command.pid
if [ -e $base/hang ]; then
	# A child of the command must end as well.
	sleep 60 &
	echo \$! >$base/child.pid
	wait
fi
exec cat $base/root.key
SCRIPT
chmod 0700, $program or die "$program: $!";
$node->safe_psql('postgres', 'create extension pg_encrypt');
use_root_key($node, "command:$program");
$node->safe_psql('postgres', q{
	select encrypt.create_key('default');
	create table t as select encrypt.encrypt_column('plaintext') as value;
});

sub hang
{
	append_to_file("$base/hang", '');
	return;
}

sub unhang
{
	unlink "$base/hang" or die "$base/hang: $!";
	return;
}

# Waits for the processes to go: whoever killed them need not have been told of it yet.
sub command_is_gone
{
	my ($test_name) = @_;
	my @pids = map { split ' ', slurp_file("$base/$_.pid") } qw(command child);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $deadline = time + $at_once;
	Time::HiRes::sleep(0.02) while time < $deadline && grep { kill 0, $_ } @pids;
	is(scalar(grep { kill 0, $_ } @pids), 0, $test_name);
	unlink map { "$base/$_.pid" } qw(command child);
	return;
}

# Returns when the command hangs.
sub wait_for_command
{
	$node->poll_query_until('postgres', "select size > 0 from pg_stat_file('$base/child.pid', true)")
	  or die 'the command did not start';
	return;
}

# A session whose statement waits for the command.
sub waiting_session
{
	my $session = session($node);
	my $pid     = backend_pid($session);
	session_start($session, $read);
	wait_for_command();
	return ($session, $pid);
}

hang();
my $started = time;
my $said = fails_with($node, "set statement_timeout = 300; $read", '57014', 'statement_timeout ends the statement');
cmp_ok(time - $started, '<', $at_once, 'at once');
like($said, qr/statement timeout/, 'and says so');
command_is_gone('the command ended with it');

my ($session, $pid) = waiting_session();
$started = time;
$node->safe_psql('postgres', "select pg_cancel_backend($pid)");
$session->query('');
like($session->{stderr}, qr/57014: canceling statement due to user request/, 'cancelling ends the statement');
cmp_ok(time - $started, '<', $at_once, 'at once');
command_is_gone('the command ended with it');
unhang();
$session->{stderr} = '';
is($session->query($read), 'plaintext', 'the session goes on');
$session->quit;

hang();
($session, $pid) = waiting_session();
$started = time;
$node->safe_psql('postgres', "select pg_terminate_backend($pid)");
$node->poll_query_until('postgres', "select count(*) = 0 from pg_stat_activity where pid = $pid");
cmp_ok(time - $started, '<', $at_once, 'terminating ends the session at once');
command_is_gone('the command ended with it');

# A first key that is being made holds locks while it waits: whoever wants to look at keys must not wait for it.
unhang();
$node->safe_psql('postgres', $read);
unlink "$base/child.pid";
hang();
my $maker = session($node);
$pid = backend_pid($maker);
session_start($maker, q{select encrypt.create_key('second')});
wait_for_command();
is($node->safe_psql('postgres', q{set statement_timeout = '5s'; select count(*) from encrypt.key_status}),
	2, 'keys can be looked at while one is being made');
$started = time;
$node->stop('fast');
cmp_ok(time - $started, '<', $at_once, 'the server shuts down at once');
command_is_gone('the command ended with it');

unhang();
$node->start;
is($node->safe_psql('postgres', $read), 'plaintext', 'readable afterwards');
is($node->safe_psql('postgres', 'select count(*) from encrypt.keys'), 2, 'and no key was made');
server_log_lacks($node, slurp_file(root_key_path($node)) =~ /(\w+)/, 'the root key is not in the log');
$node->stop;
done_testing();
